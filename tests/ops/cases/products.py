"""Cases of products."""

from funcgrad import ops
from tests.ops.cases.case import case, normal

case(ops.linear, normal(5, 4), normal(4, 3), normal(3))
case(ops.linear, normal(2, 5, 4), normal(4, 3), label="no-bias")
case(ops.linear, normal(4), normal(4, 3), normal(3), label="vector")
case(ops.linear, normal(0, 4), normal(4, 3), normal(3), label="empty")
case(ops.linear, normal(1, 1), normal(1, 1), normal(1), label="size1")
case(ops.matmul, normal(5, 4), normal(4, 3))
case(ops.matmul, normal(4), normal(4), label="vectors")
case(ops.matmul, normal(4), normal(2, 4, 3), label="row")
case(ops.matmul, normal(2, 3, 4), normal(4), label="column")
case(ops.matmul, normal(2, 1, 3, 4), normal(5, 4, 6), label="broadcast")
case(ops.matmul, normal(7, 3, 4), normal(4, 6), label="shared")
case(ops.matmul, normal(3, 4), normal(2, 4, 5), label="shared-left")
case(ops.matmul, normal(1, 3, 4), normal(2, 4, 1), label="size1")
case(ops.matmul, normal(2, 0, 4), normal(2, 4, 3), label="empty")
case(ops.einstein_sum, normal(5, 4, 3), normal(4, 6, 5), subscripts="bik,ijb->bjk")
case(ops.einstein_sum, normal(3, 4, 4), normal(4, 5), subscripts="ijj,jk->k", label="diagonal")
case(ops.einstein_sum, normal(3, 2, 3, 3), subscripts="ijii->ij", label="one")
case(ops.einstein_sum, normal(3, 4), normal(5, 6), subscripts="ij,kl->lj", label="alone")
case(ops.einstein_sum, normal(1, 4), normal(3, 1), subscripts="ij,ij->j", label="size1")
case(ops.einstein_sum, normal(0, 4), normal(4, 3), subscripts="ij,jk->ik", label="empty")
case(ops.einstein_sum, normal(2, 3, 4), normal(4, 5), subscripts="j,jk->k", label="leading")
