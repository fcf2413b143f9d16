"""Where jobs run, one module each; every module has ``create(options) -> Executor``."""
