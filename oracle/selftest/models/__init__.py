"""Other people's models. All of them are right, so none may be accused."""
