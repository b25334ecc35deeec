"""Why a mutation that no test notices is none that a test could, or should, notice: by the mutation's key."""

EXPLAINED: dict[str, str] = {}
