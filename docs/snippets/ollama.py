import ollama

import pandaprobe_otel

pandaprobe_otel.init()

answer = ollama.chat(
    model="llama3.2",
    messages=[{"role": "user", "content": "Where is my order?"}],
)
print(answer.message.content)
