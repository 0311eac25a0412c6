from anthropic import Anthropic

import pandaprobe_otel

pandaprobe_otel.init()

answer = Anthropic().messages.create(
    model="claude-haiku-5-5",
    max_tokens=200,
    messages=[{"role": "user", "content": "Where is my order?"}],
)
print(answer.content[0].text)
