import litellm

import pandaprobe_otel

pandaprobe_otel.init()

answer = litellm.completion(
    model="openai/gpt-5-mini",
    messages=[{"role": "user", "content": "Where is my order?"}],
)
print(answer.choices[0].message.content)
