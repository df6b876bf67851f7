"""The work, one stage a module: source -> frames -> track -> crops -> store -> tuples -> encoder -> features."""
