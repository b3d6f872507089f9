"""The built-in models, as data: one TOML of hyper-parameters a network, and folders of trained ones."""
