"""What is kept of the pictures, why, for how long; what people say of them; the hold-out that learning never sees."""
