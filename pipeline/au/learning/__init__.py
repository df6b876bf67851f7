"""How heads learn: closed forms, networks, and the thresholds that go with them."""
