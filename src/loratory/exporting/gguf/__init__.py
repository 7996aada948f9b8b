"""GGUF files of causal fits, for llama.cpp and Ollama."""
