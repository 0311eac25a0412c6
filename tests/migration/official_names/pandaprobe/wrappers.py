"""`pandaprobe.wrappers`."""

from pandaprobe_otel import wrap_anthropic as wrap_anthropic
from pandaprobe_otel import wrap_bedrock as wrap_bedrock
from pandaprobe_otel import wrap_gemini as wrap_gemini
from pandaprobe_otel import wrap_litellm as wrap_litellm
from pandaprobe_otel import wrap_mistral as wrap_mistral
from pandaprobe_otel import wrap_openai as wrap_openai
