from google import genai

import pandaprobe_otel

pandaprobe_otel.init()

client = genai.Client()
print(client.models.generate_content(model="gemini-2.5-flash", contents="Where is my order?").text)
