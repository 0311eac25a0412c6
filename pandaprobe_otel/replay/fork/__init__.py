"""A recorded run once more, up to a span as it was and live from there: what another model or prompt would have done.

- `cut`: which recorded calls are played, and which are asked anew
- `overrides`: another model or prompt in the requests that are sent
- `forked_run`: the recording that plays one part and sends the other
- `of_trace`: a stored trace as a recorded run
- `rerun`: the recorded run and its forks, one after the other, judged alike
- `report`: both side by side, as text
"""
