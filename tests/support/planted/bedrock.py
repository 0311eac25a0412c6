"""Bedrock's InvokeModel, with the bodies of each family of models."""

from __future__ import annotations

import json
from typing import Any

from provider_server import ProviderServer, json_reply

from .anthropic_messages import message as claude_message
from .anthropic_messages import request as claude_request
from .bedrock_conversations import client
from .coheres import citation
from .openai_protocol import answer as openai_answer
from .openai_protocol import messages as openai_messages
from .plants import Plants, planted

Json = dict[str, Any]


def _invoke(server: ProviderServer, model: str, body: Json, answer: Json) -> object:
    server.replies(json_reply(answer))
    return client(server).invoke_model(modelId=model, body=json.dumps(body))["body"].read()


@planted("bedrock", "Claude")
def _claude(server: ProviderServer, plant: Plants) -> object:
    body = {**claude_request(plant), "anthropic_version": "bedrock-2023-05-31"}
    del body["model"], plant.marks["asked model"]
    return _invoke(server, "anthropic.claude-sonnet-5-v1:0", body, claude_message(plant))


@planted("bedrock", "Nova")
def _nova(server: ProviderServer, plant: Plants) -> object:
    body = {
        "system": [{"text": plant.text("system")}],
        "messages": [{"role": "user", "content": [{"text": plant.text("question")}]}],
        "inferenceConfig": {"maxTokens": plant.number("max tokens"), "new": plant.text("parameter")},
    }
    message = {"role": "assistant", "content": [{"text": plant.text("answer")}]}
    counts = {"inputTokens": plant.number("in"), "outputTokens": plant.number("out"), "totalTokens": 9}
    answer = {"output": {"message": message}, "stopReason": "end_turn", "usage": counts, "new": plant.text("beside")}
    return _invoke(server, "us.amazon.nova-lite-v1:0", body, answer)


@planted("bedrock", "Nova Canvas")
def _canvas(server: ProviderServer, plant: Plants) -> object:
    task = {
        "text": plant.text("prompt"),
        "negativeText": plant.text("negative"),
        "conditionImage": plant.picture("condition"),
    }
    body = {
        "taskType": "TEXT_IMAGE",
        "textToImageParams": task,
        "imageGenerationConfig": {"seed": plant.number("seed"), "quality": plant.text("quality")},
    }
    return _invoke(server, "amazon.nova-canvas-v1:0", body, {"images": [plant.picture("made")]})


@planted("bedrock", "Titan pictures")
def _titan_pictures(server: ProviderServer, plant: Plants) -> object:
    task = {"text": plant.text("prompt"), "image": plant.picture("image"), "maskImage": plant.picture("mask")}
    body = {
        "taskType": "INPAINTING",
        "inPaintingParams": task,
        "imageGenerationConfig": {"cfgScale": plant.number("scale")},
    }
    return _invoke(server, "amazon.titan-image-generator-v2:0", body, {"images": [], "error": plant.text("error")})


@planted("bedrock", "Stability")
def _stability(server: ProviderServer, plant: Plants) -> object:
    body = {
        "prompt": plant.text("prompt"),
        "negative_prompt": plant.text("negative"),
        "image": plant.picture("given"),
        "mode": "image-to-image",
        "style_preset": plant.text("style"),
    }
    answer = {
        "seeds": [plant.number("seed")],
        "finish_reasons": [plant.text("filtered")],
        "images": [plant.picture("made")],
    }
    return _invoke(server, "stability.sd3-5-large-v1:0", body, answer)


@planted("bedrock", "Stable Diffusion XL")
def _sdxl(server: ProviderServer, plant: Plants) -> object:
    body = {
        "text_prompts": [{"text": plant.text("prompt"), "weight": plant.number("weight")}],
        "steps": plant.number("steps"),
    }
    made = {"base64": plant.picture("made"), "finishReason": plant.text("reason"), "seed": 1}
    return _invoke(server, "stability.stable-diffusion-xl-v1", body, {"result": "success", "artifacts": [made]})


@planted("bedrock", "Cohere's rerank")
def _rerank(server: ProviderServer, plant: Plants) -> object:
    body = {"query": plant.text("query"), "documents": [plant.text("document")], "api_version": plant.number("version")}
    return _invoke(
        server, "cohere.rerank-v3-5:0", body, {"results": [{"index": 0, "relevance_score": plant.number("score")}]}
    )


@planted("bedrock", "Command A")
def _command_a(server: ProviderServer, plant: Plants) -> object:
    body = {
        "messages": [{"role": "user", "content": plant.text("question")}],
        "max_tokens": plant.number("max tokens"),
        "documents": [{"data": {"text": plant.text("document")}}],
        "safety_mode": plant.text("safety"),
    }
    content = [{"type": "text", "text": plant.text("answer")}]
    message = {"role": "assistant", "content": content, "citations": [citation(plant)]}
    return _invoke(
        server, "cohere.command-a-03-2025-v1:0", body, {"id": "x", "message": message, "finish_reason": "COMPLETE"}
    )


@planted("bedrock", "Command R")
def _command_r(server: ProviderServer, plant: Plants) -> object:
    body = {
        "message": plant.text("question"),
        "chat_history": [{"role": "CHATBOT", "message": plant.text("earlier")}],
        "documents": [{"snippet": plant.text("document")}],
        "preamble": plant.text("preamble"),
        "citation_quality": plant.text("quality"),
        "max_tokens": plant.number("max tokens"),
    }
    answer = {
        "text": plant.text("answer"),
        "finish_reason": "COMPLETE",
        "generation_id": plant.text("id"),
        "citations": [{"start": 0, "end": 1, "text": plant.text("cited"), "document_ids": ["d"]}],
    }
    return _invoke(server, "cohere.command-r-plus-v1:0", body, answer)


@planted("bedrock", "Jamba")
def _jamba(server: ProviderServer, plant: Plants) -> object:
    body = {"messages": [{"role": "user", "content": plant.text("question")}], "documents": [plant.text("document")]}
    message = {"role": "assistant", "content": plant.text("answer"), "new": plant.text("beside")}
    answer = {
        "id": plant.text("id"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": plant.number("in"), "completion_tokens": plant.number("out")},
        "meta": {"requestDurationMillis": plant.number("duration")},
    }
    return _invoke(server, "ai21.jamba-1-5-large-v1:0", body, answer)


@planted("bedrock", "OpenAI's open models")
def _open_models(server: ProviderServer, plant: Plants) -> object:
    body = {"messages": openai_messages(plant), "reasoning_effort": "low", "n": 2, "new": plant.text("new parameter")}
    return _invoke(server, "openai.gpt-oss-120b-1:0", body, openai_answer(plant))


@planted("bedrock", "Titan")
def _titan(server: ProviderServer, plant: Plants) -> object:
    config = {"maxTokenCount": plant.number("max tokens"), "new": plant.text("new parameter")}
    answer = {
        "inputTextTokenCount": plant.number("in"),
        "results": [
            {"tokenCount": plant.number("out"), "outputText": plant.text("answer"), "completionReason": "FINISH"}
        ],
        "new": plant.text("beside"),
    }
    return _invoke(
        server, "amazon.titan-text-express-v1", {"inputText": plant.text("q"), "textGenerationConfig": config}, answer
    )


@planted("bedrock", "Llama")
def _llama(server: ProviderServer, plant: Plants) -> object:
    body = {
        "prompt": plant.text("prompt"),
        "max_gen_len": plant.number("max tokens"),
        "new": plant.text("new parameter"),
    }
    answer = {
        "generation": plant.text("answer"),
        "prompt_token_count": plant.number("in"),
        "stop_reason": "stop",
        "generation_token_count": plant.number("out"),
        "new": plant.text("beside"),
    }
    return _invoke(server, "meta.llama3-3-70b-instruct-v1:0", body, answer)


@planted("bedrock", "Mistral's prompts")
def _mistral(server: ProviderServer, plant: Plants) -> object:
    body = {
        "prompt": plant.text("prompt"),
        "max_tokens": plant.number("max tokens"),
        "new": plant.text("new parameter"),
    }
    answer = {"outputs": [{"text": plant.text("answer"), "stop_reason": "stop", "new": plant.text("beside")}]}
    return _invoke(server, "mistral.mistral-7b-instruct-v0:2", body, answer)


@planted("bedrock", "DeepSeek's prompts")
def _deepseek(server: ProviderServer, plant: Plants) -> object:
    body = {
        "prompt": plant.text("prompt"),
        "max_tokens": plant.number("max tokens"),
        "new": plant.text("new parameter"),
    }
    return _invoke(
        server, "us.deepseek.r1-v1:0", body, {"choices": [{"text": plant.text("answer"), "stop_reason": "stop"}]}
    )


@planted("bedrock", "Pegasus")
def _pegasus(server: ProviderServer, plant: Plants) -> object:
    body = {
        "inputPrompt": plant.text("prompt"),
        "mediaSource": {"s3Location": {"uri": plant.text("video")}},
        "responseFormat": {"jsonSchema": {"title": plant.text("schema")}},
    }
    return _invoke(
        server, "us.twelvelabs.pegasus-1-2-v1:0", body, {"message": plant.text("answer"), "finishReason": "stop"}
    )


@planted("bedrock", "Titan's embeddings")
def _titan_embeddings(server: ProviderServer, plant: Plants) -> object:
    body = {
        "inputText": plant.text("text"),
        "inputImage": plant.picture("picture"),
        "normalize": True,
        "embeddingConfig": {"new": plant.text("new parameter")},
    }
    answer = {"embedding": [0.5, 1.0], "inputTextTokenCount": plant.number("in"), "message": plant.text("message")}
    return _invoke(server, "amazon.titan-embed-image-v1", body, answer)


@planted("bedrock", "Nova's embeddings")
def _nova_embeddings(server: ProviderServer, plant: Plants) -> object:
    task = {"embeddingPurpose": plant.text("purpose"), "text": {"truncationMode": "END", "value": plant.text("text")}}
    body = {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": task}
    answer = {"embeddings": [{"embeddingType": "TEXT", "embedding": [0.5]}]}
    return _invoke(server, "amazon.nova-2-multimodal-embeddings-v1:0", body, answer)


@planted("bedrock", "Nova Reel")
def _reel(server: ProviderServer, plant: Plants) -> object:
    picture = {"format": "png", "source": {"bytes": plant.picture("first picture")}}
    task = {"text": plant.text("prompt"), "images": [picture]}
    given = {
        "taskType": "TEXT_VIDEO",
        "textToVideoParams": task,
        "videoGenerationConfig": {"seed": plant.number("seed")},
    }
    server.replies(json_reply({"invocationArn": plant.text("arn")}))
    return client(server).start_async_invoke(
        modelId="amazon.nova-reel-v1:1",
        modelInput=given,
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": plant.text("bucket")}},
    )
