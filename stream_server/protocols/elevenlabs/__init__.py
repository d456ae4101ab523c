"""ElevenLabs' protocols, as its own SDK, Pipecat and LiveKit speak them: two websockets and a few HTTP answers.

alignment   when each character of a text is heard
formats     their names of formats → ours
tags        markup in a text, which is not spoken
messages    what crosses the wire, both ways
speech      one utterance: text in, messages out; what both sockets and the HTTP answers share
single      the socket that speaks one text
multi       the socket that speaks many, each a context
http        bodies, timestamps, voices, models, errors
"""
