from groq import Groq

import pandaprobe_otel

pandaprobe_otel.init()

answer = Groq().chat.completions.create(
    model="llama-3.3-70b-versatile",
    messages=[{"role": "user", "content": "Where is my order?"}],
)
print(answer.choices[0].message.content)
