"""The clients that Stainless generates (openai, anthropic, groq, together) have one choke point: hook that.

`_base_client.SyncAPIClient.request` and its async twin make every call, whichever method, helper, raw or
streaming form the app uses; `_process_response` is handed the HTTP response before anything is made of it.
"""
