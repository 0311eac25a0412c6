"""The protocol of OpenAI's chat completions, completions and embeddings, which groq, together and others share."""
