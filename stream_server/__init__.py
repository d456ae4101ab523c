"""Real-time speech synthesis, streamed.

The words of this house, one meaning each:

sample      one PCM value; float32 in [-1, 1] inside, int16 at the doors
pts         samples since the context's first one
token       what one decode step yields: for lark a speech code of 40 ms and the three symbols around the pointer
code        one of the codec's 4,375 entries
symbol      a phone (with its stress, and a mark where it opens a word) or a pause: what the pointer walks over
pointer     which symbol is being spoken
frame       a row of spectral features (inside lark), or a message's block of sound (at the engine's door)
hop         the samples between two spectral frames: 10 ms
packet      one Opus packet: 20 ms
chunk       what one wire message carries; how many tokens a vocoder takes at a call
context     one listener's utterance on the wire, under a name it chose; inside, a session
sentence    words up to one that ends it: what is synthesised in one go
sequence    a sentence while it lives in the engine
slot        a row in every cache; a running sequence owns exactly one
prefill     making a sequence ready to decode; a decode step: one token for each running sequence
KV cache    keys and values already computed, one row per slot
lookahead   tokens a vocoder must see beyond those it gives out; pre-skip: what an Opus decoder must drop
credit      samples a sequence may still emit before it is paced
TTFA        time to first audio: first text accepted to first packet handed to the transport
RTF         time taken over duration of the speech; below 1 is faster than speech
barge-in    the listener interrupts: what was not sent is dropped, what was heard is told
"""

__version__ = "0.1.0"
