"""The search language of the trace list: `error tool:refund latency>5s score:task_completion<0.5 "blender"`."""
