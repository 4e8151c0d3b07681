"""Months of dated text played as landings, with trouble, and what retraining made of it (docs/simulation.md).

    months = read_market(folder)
    played = Player(detect, decide, rules, book, scored(months), train, clock).play(timeline(months, trouble=True))
    outcome = outcome_of(months, played, replicas, trouble=True)

Everything that is tried is the real thing: zone, book, acceptance, decision, claims. The clock is simulated, and who
trains is handed in, since a stage does not import another: `cli.simulated_training` joins them.
"""
