from fireworks import Fireworks

import pandaprobe_otel

pandaprobe_otel.init()

answer = Fireworks().chat.completions.create(
    model="accounts/fireworks/models/gpt-oss-120b",
    messages=[{"role": "user", "content": "Where is my order?"}],
)
print(answer.choices[0].message.content)
