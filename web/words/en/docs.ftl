# Texts around the reference of the API, which is in English.

docs-version = Version { $version }. The description for programs:
docs-header = Programs send this header:
docs-keys = Create keys in
docs-or = or with this command:
docs-local = A server that only this machine can reach needs no key.
