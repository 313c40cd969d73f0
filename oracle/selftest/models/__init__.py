"""Other people's models, none of them wrong: nobody may be accused."""
