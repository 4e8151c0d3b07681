"""Who may write what: keys, the policy and the gate that every entry passes."""
