"""The paper's statements, checked: exactly in rationals where that is possible, else measured."""
