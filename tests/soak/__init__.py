"""Random valid calls of every public function, against their slow twins, for as long as one likes (see engine.py)."""
