"""The cases, a file a topic. A new public function is one new function here."""
