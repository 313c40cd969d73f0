"""Forward programs of any kind: recorded as they run, run on error arrays, and differentiated with one table of rules.

    program, outputs = oracle.programs.torch_calls.record(fn, x, weight)     # each ATen call once, memory turned into values
    run = oracle.programs.execution.Run(program, WithErrors(ErrorModel(np.dtype("float32"))))
    grads = run.gradients([grad_output])                                     # error arrays, like run.outputs

torch.autograd takes no part in it. Views and writing in place need no rules: memory is read and written as it lies
(`storages`). Every call rounds to its result's dtype; in 16 bits a rule runs in float32.

To add a rule, write a function of the operation's arguments in the file of its family, `oracle/programs/rules/FAMILY.py`:

    @rule("logaddexp")                      # of all overloads; "max.dim" of one; aten's name without "_" in place
    def logaddexp(input, other):            # torch's argument names and defaults
        \"\"\"ln(e^x + e^y); g e^(x-f), and g e^(y-f).\"\"\"          # its line in `oracle list ops`
        f = np.logaddexp(input, other)
        return f, lambda g: (summed_to(g * np.exp(input - f), input), summed_to(g * np.exp(other - f), other))

It returns (output, backward), for several outputs a tuple; backward takes one gradient for each output, None where none arrived,
and returns those of the positional arguments in order (None: not differentiated; a list for a list). Use the NumPy functions
that error arrays know, refbp.functional where it has the operation, torch's own formula of a backward otherwise, and
`oracle.programs.adjoint` for what is shared. `moves=True` marks what computes nothing; `recorded(name)` what is taken as it ran.
Then add the operation's name to its family in tests/oracle/programs/test_rules.py, which tries it on torch's OpInfo samples.
"""
