"""Hot loops: one public function a file, compiled on first use."""
