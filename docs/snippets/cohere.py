import cohere

import pandaprobe_otel

pandaprobe_otel.init()

answer = cohere.ClientV2().chat(
    model="command-a-03-2025",
    messages=[{"role": "user", "content": "Where is my order?"}],
)
print(answer.message.content[0].text)
