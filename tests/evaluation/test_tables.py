from htsat_edge.evaluation.tables import wide_console


def test_a_long_line_is_not_broken_in_a_file(capsys):
    wide_console().print("x" * 200)
    assert capsys.readouterr().out == "x" * 200 + "\n"
