"""A recorded run again: played back up to a span and live from there, with another model or prompt.

- `cut`: the recorded calls that are played back, and those that are made again
- `overrides`: another model or prompt in the requests that are sent
- `forked_run`: the recording that plays back one part and sends the other
- `of_trace`: a stored trace as a recorded run
- `rerun`: the recorded run and its forks, in sequence, with the same judges
- `report`: both side by side, as text
"""
