"""Forward programs of any kind: recorded, run on error arrays, and differentiated by one table of rules.

    program, outputs = oracle.programs.torch_calls.record(fn, x, weight)     # each ATen call once, memory turned into values
    run = oracle.programs.execution.Run(program, WithErrors(ErrorModel(np.dtype("float32"))))
    grads = run.gradients([grad_output])                                     # error arrays, like run.outputs

It does not use torch.autograd. Views and in-place writes need no rules, because memory itself is modelled (`storages`). Every
call rounds to its result's dtype; in 16 bits a rule runs in float32.

To add a rule, write a function of the operation's arguments in the file of its family, `oracle/programs/rules/FAMILY.py`:

    @rule("logaddexp")                      # of all overloads; "max.dim" of one; aten's name without "_" in place
    def logaddexp(input, other):            # torch's argument names and defaults
        \"\"\"ln(e^x + e^y); g e^(x-f), and g e^(y-f).\"\"\"          # its line in `oracle list ops`
        f = np.logaddexp(input, other)
        return f, lambda g: (summed_to(g * np.exp(input - f), input), summed_to(g * np.exp(other - f), other))

It returns (output, backward), with a tuple for several outputs. backward takes one gradient for each output, None if none
arrived, and returns those of the positional arguments in order (None if not differentiated, a list for a list). Use NumPy
functions that error arrays support, refbp.functional if it has the operation, else torch's formula of the backward, and the
shared functions of `oracle.programs.adjoint`. `moves=True` marks operations that compute nothing, `recorded(name)` those whose
recorded result is used. Then add the operation's name to its family in tests/oracle/programs/test_rules.py, which tries it on
torch's OpInfo samples.
"""
