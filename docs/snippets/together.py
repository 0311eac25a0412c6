from together import Together

import pandaprobe_otel

pandaprobe_otel.init()

answer = Together().chat.completions.create(
    model="meta-llama/Llama-3.3-70B-Instruct-Turbo",
    messages=[{"role": "user", "content": "Where is my order?"}],
)
print(answer.choices[0].message.content)
