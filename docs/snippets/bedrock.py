import boto3

import pandaprobe_otel

pandaprobe_otel.init()

answer = boto3.client("bedrock-runtime").converse(
    modelId="anthropic.claude-3-5-haiku-20241022-v1:0",
    messages=[{"role": "user", "content": [{"text": "Where is my order?"}]}],
)
print(answer["output"]["message"]["content"][0]["text"])
