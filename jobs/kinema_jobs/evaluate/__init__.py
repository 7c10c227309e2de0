"""How good a model is: measured on this machine (`__main__`), or in an evaluator's pod (`pod`), and its report."""
