"""Resolve, extract, train, evaluate: the four steps of a training.

    plan     = resolve(config, context)     complete settings, images, network and boundary
    features = extract(plan, context)       rows of the frozen stages, phase by phase
    model    = train(features)              thawed stages and head
    results  = evaluate(model)              metrics; reads the test split for the first time

None of them knows about run folders: `train` accepts an optional `Checkpointer`.
"""
