"""The logic of the stages: plain typed callables, batch first, no Ray.

The pipeline has five stages; the numbers are those of the reference models that they replace:

    query_features  context 0, 1c · user lookup 1a · user transform 1b · history
    retrieval       query tower 2 · candidate index 3
    seen_filter     seen items 4
    ranking         item columns 5a-5c, 6a · ranker 6b
    reranking       top-k 6c · decoder 7 (in the gateway, which has the item metadata)
"""
