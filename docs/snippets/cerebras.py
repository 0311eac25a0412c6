from cerebras.cloud.sdk import Cerebras

import pandaprobe_otel

pandaprobe_otel.init()

answer = Cerebras().chat.completions.create(
    model="gpt-oss-120b",
    messages=[{"role": "user", "content": "Where is my order?"}],
)
print(answer.choices[0].message.content)
