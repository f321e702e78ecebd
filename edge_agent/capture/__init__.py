"""Capture: camera, stream, file, folder or synthetic line to frames in a bounded, counted queue. Owns cv2."""
