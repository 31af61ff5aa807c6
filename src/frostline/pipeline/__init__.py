"""Resolve, extract, train, evaluate: the four steps of a training, each made from the one before.

    plan     = resolve(config, context)     every setting, the images, the network and its boundary
    features = extract(plan, context)       rows of the frozen stages, phase by phase
    model    = train(features)              thawed stages and head
    results  = evaluate(model)              the test split is read here for the first time

Nothing here knows of run folders: `train` is handed a `Checkpointer`, or none.
"""
