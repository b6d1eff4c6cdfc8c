;;; info.el --- README.org as Texinfo  -*- lexical-binding: t -*-

;;; Commentary:

;; `make info' runs `mailsync-info'.  Org gives each column of a table the width of its longest cell,
;; and then no line fits on a screen; here the wide columns share what the others leave.

;;; Code:

(require 'cl-lib)
(require 'ox-texinfo)

(defconst mailsync-info--width 76
  "The columns that a table may have.")

(defun mailsync-info--fit (widths least)
  "WIDTHS, of the columns of a table, so that all of them fit.
None becomes less than the same one of LEAST."
  (let* ((wanted (apply #'+ widths))
         (needed (apply #'+ least))
         (part (if (<= wanted mailsync-info--width)
                   1
                 (/ (max 0 (- mailsync-info--width needed)) (float (- wanted needed))))))
    (cl-mapcar (lambda (width least) (+ least (* part (- width least)))) widths least)))

(defun mailsync-info--longest-words (rows columns)
  "The length of the longest word in each of the COLUMNS of ROWS, text of a table."
  (let ((longest (make-list columns 0)))
    (dolist (row (cdr (split-string rows "^@\\(?:item\\|headitem\\)\\>")))
      (cl-loop for cell in (split-string row "@tab\\>")
               for rest on longest
               do (dolist (word (split-string (replace-regexp-in-string
                                               "@[a-z]+{\\([^}]*\\)}" "'\\1'" cell)))
                    (setcar rest (max (car rest) (length word))))))
    longest))

(defun mailsync-info--table (text _backend _info)
  "Make TEXT, a table in Texinfo, fit."
  (with-temp-buffer
    (insert text)
    (goto-char (point-min))
    (when (re-search-forward "^@multitable\\( {.*}\\)" nil t)
      (let* ((columns (save-match-data (split-string (match-string 1) "[{} ]+" t)))
             ;; Between two columns there is some space.
             (room (lambda (width) (+ 3 width)))
             (least (save-match-data (mailsync-info--longest-words text (length columns)))))
        (replace-match
         (concat " @columnfractions "
                 (mapconcat (lambda (width) (format "%.3f" (/ width (float mailsync-info--width))))
                            (mailsync-info--fit
                             (cl-mapcar (lambda (column least)
                                          (funcall room (max least (length column))))
                                        columns least)
                             (mapcar room least))
                            " "))
         t t nil 1)))
    (buffer-string)))

(defun mailsync-info ()
  "Export the first file that the command line names to the second one."
  (with-current-buffer (find-file-noselect (pop command-line-args-left))
    (add-hook 'org-export-filter-table-functions #'mailsync-info--table)
    ;; Info is read in terminals, too, and the pictures show no more than the text says.
    (goto-char (point-min))
    (while (re-search-forward "^\\[\\[file:doc/screenshots/.*\\]\\]\n" nil t)
      (replace-match ""))
    ;; A link that leads nowhere is an error.
    (let ((org-export-with-broken-links nil))
      (org-export-to-file 'texinfo (expand-file-name (pop command-line-args-left))))))

(provide 'info)
;;; info.el ends here
