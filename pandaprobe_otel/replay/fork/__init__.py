"""A recorded run again: played back up to a span and live from there, with another model or prompt.

- `forked_run`: the cut of a cassette, and the recording that plays back one part and sends the other
- `overrides`: another model or prompt in the requests that are sent
- `trace_recording`: a stored trace as a recorded run
- `rerun`: the recorded run and its forks, in sequence, with the same judges
- `fork_report`: both side by side, as text
"""
