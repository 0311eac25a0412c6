"""The instrumentations of pandaprobe-otel; `pandaprobe_otel.instrument(name)` finds them.

Each library has a module or a folder of its name. A leading underscore marks what they share: `_http` and
`_client_hooks` for clients, `_runs` for frameworks with callbacks, `_integration` for all.
"""
