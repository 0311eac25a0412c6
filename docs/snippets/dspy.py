import dspy

import pandaprobe_otel

pandaprobe_otel.init()


def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return f"{parcel} arrives on Tuesday"


dspy.configure(lm=dspy.LM("openai/gpt-5-mini"))
assistant = dspy.ReAct("question -> answer", tools=[track_parcel])
print(assistant(question="Where is my parcel P-4711?").answer)
