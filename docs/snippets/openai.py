from openai import OpenAI

import pandaprobe_otel

pandaprobe_otel.init()

answer = OpenAI().chat.completions.create(
    model="gpt-5-mini",
    messages=[{"role": "user", "content": "Where is my order?"}],
)
print(answer.choices[0].message.content)
