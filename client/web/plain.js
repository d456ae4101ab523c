// The server's errors in plain words.

const SENTENCES = {
  overloaded: () => "The server is speaking to as many people as it can.",
  too_many_contexts: () => "Too many things are being spoken on this connection. Wait for one to end.",
  text_too_long: ({ limit }) => `That is more text than the server takes at once: ${Number(limit).toLocaleString()} characters.`,
  message_too_large: () => "That was too much text in one piece.",
  unknown_voice: () => "The server does not have that voice any more. Choose another.",
  unsupported_format: () => "The server cannot send sound in a form that this page plays.",
  opus_missing: () => "The server has no Opus encoder, which this page needs. Install libopus on it.",
  invalid_pronunciation: ({ limit }) => `There is a sound between [[ ]] that this voice does not have. It has: ${limit}`,
  invalid_setting: ({ field, limit }) => `The server does not take this ${field ?? "setting"}. It takes: ${limit}`,
  sequence_failed: () => "This text could not be spoken.",
  engine_dead: () => "The speech engine stopped and did not come back.",
  idle_timeout: () => "The connection was closed because nothing was said for a while.",
  slow_reader: () => "This device took no sound for too long, so the server let go of it.",
  connection_lost: () => "The connection was lost. What had arrived was still played.",
  unauthorized: () => "The server wants a key. Enter it under Server.",
};

export function inPlainWords(error) {
  return (SENTENCES[error.code] ?? (({ message }) => message ?? "Something went wrong on the server."))(error);
}
