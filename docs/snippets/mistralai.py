import os

from mistralai.client import Mistral

import pandaprobe_otel

pandaprobe_otel.init()

client = Mistral(api_key=os.environ["MISTRAL_API_KEY"], server_url=os.environ.get("MISTRAL_SERVER_URL"))
answer = client.chat.complete(
    model="mistral-small-latest",
    messages=[{"role": "user", "content": "Where is my order?"}],
)
print(answer.choices[0].message.content)
