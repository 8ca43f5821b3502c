import random


def chat(n, seed=0):
    rng = random.Random(seed)
    for _ in range(n):
        w = rng.choice(["love", "rose", "king", "sword"])
        yield {"messages": [{"role": "user", "content": f"spell {w}"}, {"role": "assistant", "content": " ".join(w)}]}


def prompts(n, seed=0):
    rng = random.Random(seed)
    for _ in range(n):
        w = rng.choice(["love", "rose", "king", "sword"])
        yield {"prompt": f"spell {w}", "answer": " ".join(w)}
