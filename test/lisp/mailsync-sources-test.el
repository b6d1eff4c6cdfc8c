;;; mailsync-sources-test.el --- Tests of mail sources that are fetched  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A real Gnus whose server (nnml, nnfolder or nnmaildir) takes mail out
;; of two maildirs, `incoming' and `other', and splits it into two
;; groups, `list' and `misc'.

;;; Code:

(require 'mailsync-sources-test-helper)

;;;; Fetching

(mailsync-sources-test--for-each mailsync-sources-test-fetch
    "Mail in a source is split and counted; no other source is touched."
    (nnml nnfolder nnmaildir)
  (dolist (mailsync-gnus-check-method '(parts command))
    (let ((before (mailsync-sources-test--counts))
          (list (mailsync-sources-test--group "list"))
          (misc (mailsync-sources-test--group "misc"))
          (fetches (mailsync-sources-test--fetches))
          (others (mailsync-sources-test--left "other"))
          (earlier (list (list (cons "before" 1)))))
      (setq nnmail-split-history earlier)
      (mailsync-sources-test--deliver "incoming" "to the list")
      (mailsync-sources-test--deliver "incoming" "also to the list")
      (mailsync-sources-test--deliver "incoming" "to me")
      (mailsync-sources-test--deliver "other" "to me")
      (pcase-let ((`(,result ,groups)
                   (mailsync-sources-test--check "incoming" 'new)))
        (should (eq result 'checked))
        (should (equal (sort groups (lambda (a b) (string< (car a) (car b))))
                       `((,list ,(nth 0 before) ,(+ 2 (nth 0 before)))
                         (,misc ,(nth 1 before) ,(+ 1 (nth 1 before)))))))
      (should (equal (mailsync-sources-test--counts)
                     (cl-mapcar #'+ before '(2 1))))
      (should (= 0 (mailsync-sources-test--left "incoming")))
      (should (= (1+ others) (mailsync-sources-test--left "other")))
      (should (= (1+ fetches) (mailsync-sources-test--fetches)))
      ;; What Gnus shows of it to the user is complete.
      (should (eq earlier (last nnmail-split-history)))
      (should (= 4 (length nnmail-split-history)))
      ;; What the fetch does to the source leads to no other.
      (should (equal (mailsync-sources-test--check "incoming" 'gone)
                     '(checked nil)))
      (should (= (1+ fetches) (mailsync-sources-test--fetches)))))
  ;; Hooks ran once for each batch in which a count rose.
  (should (= 2 (cl-count 'gnus-after-getting-new-news-hook
                         mailsync-gnus-test--hooks)))
  (should-not (plist-get (mailsync-gnus-status) :left-alone))
  (should-not mailsync-gnus-test--log))

(mailsync-sources-test--for-each mailsync-sources-test-destination
    "A check of a group fetches nothing."
    (nnml nnfolder nnmaildir)
  (dolist (mailsync-gnus-check-method '(parts command))
    (mailsync-sources-test--deliver "incoming" "to the list")
    (setq mailsync-gnus-test--accounts
          `(("home" :gnus-groups
             (("elsewhere" ,(mailsync-sources-test--group "list"))))))
    (should (equal (mailsync-sources-test--check "elsewhere" 'new)
                   '(checked nil)))
    (mailsync-gnus-check))
  (should (equal (mailsync-sources-test--counts) '(0 0)))
  (should (= 2 (mailsync-sources-test--left "incoming"))))

(ert-deftest mailsync-sources-test-primary ()
  "The server may be Gnus's primary one, whose groups have bare names."
  (dolist (backend '(nnml nnmaildir))
    (let ((mailsync-sources-test--primary t))
      (mailsync-sources-test--with backend
        (mailsync-sources-test--deliver "incoming" "to the list")
        (should (equal (mailsync-sources-test--check "incoming" 'new)
                       '(checked (("list" 0 1)))))
        (should (= 0 (mailsync-sources-test--left "incoming")))))))

(ert-deftest mailsync-sources-test-kinds ()
  "Whatever may have brought mail leads to a fetch, and nothing else does."
  (mailsync-sources-test--with 'nnml
    (let ((expected 0))
      (dolist (kind '(new flags unknown folder-created))
        (mailsync-sources-test--deliver "incoming" "to the list")
        (should (eq 'checked (car (mailsync-sources-test--check "incoming" kind))))
        (should (equal (mailsync-sources-test--counts)
                       (list (cl-incf expected) 0))))
      (mailsync-sources-test--deliver "incoming" "to the list")
      (should (equal (mailsync-sources-test--check "incoming" 'gone)
                     '(checked nil)))
      (should (equal (mailsync-sources-test--check "incoming" 'folder-deleted)
                     '(no-group nil)))
      (should (equal (mailsync-sources-test--counts) (list expected 0)))
      (should (= 4 (mailsync-sources-test--fetches)))
      ;; A message came while only a deletion was known of.
      (let ((box (mailsync-gnus-test--send
                  (mailsync-sources-test--change "incoming" 'gone)
                  (mailsync-sources-test--change "incoming" 'new))))
        (mailsync-gnus-test--wait (car box)))
      (should (equal (mailsync-sources-test--counts)
                     (list (1+ expected) 0))))))

(ert-deftest mailsync-sources-test-gone-then-new ()
  "A message that comes after a deletion was looked into is fetched."
  (mailsync-sources-test--with 'nnml
    (let ((gnus-inhibit-demon nil) box)
      (setq mailsync-gnus-test--accounts
            `(("home" :gnus-groups
               (("incoming" ,(mailsync-sources-test--group "misc"))))))
      ;; Its groups are known, but not checked yet.
      (mailsync-gnus--add (mailsync-sources-test--change "incoming" 'gone) nil)
      (should-not (mailsync-gnus--map-items))
      (should (= 1 (hash-table-count mailsync-gnus--claims)))
      (mailsync-sources-test--deliver "incoming" "to the list")
      (setq box (mailsync-gnus-test--send
                 (mailsync-sources-test--change "incoming" 'new)))
      (mailsync-gnus-test--wait (car box))
      (should (equal (mailsync-sources-test--counts) '(1 0))))))

(ert-deftest mailsync-sources-test-meanwhile ()
  "What changes during a fetch leads to another one."
  (mailsync-sources-test--with 'nnml
    (let ((box nil) (other nil))
      (let ((nnmail-post-get-new-mail-hook
             (lambda ()
               (setq nnmail-post-get-new-mail-hook nil)
               (mailsync-sources-test--deliver "incoming" "late, to the list")
               (setq other (mailsync-gnus-test--send
                            (mailsync-sources-test--change "incoming" 'new))))))
        (mailsync-sources-test--deliver "incoming" "to the list")
        (setq box (mailsync-gnus-test--send
                   (mailsync-sources-test--change "incoming" 'new)))
        (mailsync-gnus-test--wait (and (car box) (car other))))
      (should (equal (mailsync-sources-test--counts) '(2 0)))
      (should (= 2 (mailsync-sources-test--fetches)))
      (should (= 0 (mailsync-sources-test--left "incoming"))))))

(mailsync-sources-test--for-each mailsync-sources-test-many
    "Many messages are fetched a few at a time, the next change waits for them."
    (nnml nnfolder nnmaildir)
  (let ((mailsync-sources-test--portion 4)
        (mailsync-gnus--slice 0)
        (slices 0))
    (mailsync-sources-test--deliver-many 20)
    (mailsync-sources-test--deliver "other" "to me")
    (cl-letf* ((fetch (symbol-function 'mailsync-gnus--fetch))
               ((symbol-function 'mailsync-gnus--fetch)
                (lambda (&rest args)
                  (let ((before (mailsync-sources-test--left "incoming")))
                    (prog1 (apply fetch args)
                      (cl-incf slices)
                      (should (<= (- before (mailsync-sources-test--left
                                             "incoming"))
                                  4)))))))
      (pcase-let ((`(,results ,news)
                   (mailsync-gnus-test--check
                    (mailsync-sources-test--change "incoming" 'new)
                    (mailsync-sources-test--change "other" 'new))))
        (should (equal results '(("incoming" . checked) ("other" . checked))))
        (should (equal (sort (copy-sequence
                              (plist-get (car news) :groups))
                             (lambda (a b) (string< (car a) (car b))))
                       `((,(mailsync-sources-test--group "list") 0 10)
                         (,(mailsync-sources-test--group "misc") 0 11))))))
    ;; Five of `incoming', and the other one.
    (should (= 6 slices (mailsync-sources-test--fetches)))
    (should (equal (mailsync-sources-test--counts) '(10 11)))
    (should (= 0 (mailsync-sources-test--left "incoming")))
    (should (= 0 (hash-table-count mailsync-gnus--shown)))))

(ert-deftest mailsync-sources-test-many-stay ()
  "Messages that are not taken do not lead to fetches without an end."
  (mailsync-sources-test--with 'nnml
    (let ((mailsync-sources-test--portion 4))
      (setq mail-sources
            `((maildir :path ,(mailsync-sources-test--path "incoming")
                       :function mailsync-sources-test--decline)))
      (defalias 'mailsync-sources-test--decline (lambda (&rest _) t))
      (mailsync-sources-test--deliver-many 20)
      (should (equal (mailsync-sources-test--check "incoming" 'new)
                     '(checked nil)))
      (should (= 20 (mailsync-sources-test--left "incoming")))
      (should (= 2 (mailsync-sources-test--fetches)))
      (should (= 0 (hash-table-count mailsync-gnus--shown))))))

(ert-deftest mailsync-sources-test-portions ()
  "A fetch takes as many messages as the time of the last ones allows."
  (pcase-dolist (`(,pace ,hurry ,size)
                 '((nil nil 1) (nil t 1)
                   ((1 . 0.01) nil 2)   ; not more than twice as many
                   ((8 . 0.02) nil 12)
                   ((8 . 0.02) t 3)
                   ((20 . 0.2) nil 3)
                   ((20 . 0.2) t 1)
                   ((1 . 5.0) nil 1)
                   ((40 . 0.001) nil 50)
                   ;; The clock was set back.
                   ((4 . -3.0) nil 8)))
    (let ((mailsync-gnus--fetch-pace pace)
          (mailsync-gnus--hurry hurry))
      (ert-info ((format "%S %S" pace hurry))
        (should (= size (mailsync-gnus--fetch-size)))))))

(ert-deftest mailsync-sources-test-slow-rules ()
  "Where splitting takes long fewer messages are fetched in one go, fewest in a hurry."
  (pcase-dolist (`(,hurry ,most) '((nil 3) (t 1)))
    (mailsync-sources-test--with 'nnml
      (let* ((mailsync-sources-test--portion nil)
             (mailsync-gnus--fetch-pace nil)
             (source (car mail-sources))
             (directory (mailsync-sources-test--path "incoming"))
             (method (mailsync-gnus--fetching-method))
             (mailsync-gnus--hurry hurry)
             (nnmail-split-hook
              (lambda ()
                (let ((end (+ (float-time) 0.01)))
                  (while (< (float-time) end)))))
             (portions nil)
             (left 12)
             (result 'partial))
        (mailsync-sources-test--deliver-many left)
        (while (eq result 'partial)
          (setq result (car (mailsync-gnus--fetch directory source method)))
          (let ((now (mailsync-sources-test--left "incoming")))
            (push (- left now) portions)
            (setq left now)))
        (should (eq result 'checked))
        (should (= 0 left))
        (should (= 1 (car (last portions))))
        (should (> (apply #'min portions) 0))
        (should (<= (apply #'max portions) most))))))

(ert-deftest mailsync-sources-test-not-looked-into ()
  "An error that Gnus may have handled is not taken for why nothing was fetched."
  (mailsync-sources-test--with 'nnml
    (mailsync-sources-test--deliver "incoming" "to the list")
    (cl-letf (((symbol-function 'gnus-request-scan)
               (lambda (&rest _) (ignore-errors (error "Of no matter")))))
      (should (eq 'failed (car (mailsync-sources-test--check "incoming" 'new)))))
    (should (string-match-p
             "\\`Gnus did not look into it (the last error seen: Of no matter)\\'"
             (cdr (plist-get (mailsync-gnus-status) :last-error))))))

(ert-deftest mailsync-sources-test-both ()
  "A folder may be a source and be shown by groups, too."
  (mailsync-sources-test--with 'nnmaildir
    ;; The group `list' shows the source `shown'.
    (make-symbolic-link (mailsync-sources-test--path "store/list")
                        (mailsync-sources-test--path "shown"))
    (push `(maildir :path ,(mailsync-sources-test--path "shown")) mail-sources)
    (mailsync-sources-test--deliver "shown" "to me")
    (pcase-let ((`(,result ,groups)
                 (mailsync-sources-test--check "shown" 'new)))
      (should (eq result 'checked))
      (should (equal groups `((,(mailsync-sources-test--group "misc") 0 1)))))
    (should (equal (mailsync-sources-test--counts) '(0 1)))
    (should (= 1 (mailsync-sources-test--fetches)))))

(ert-deftest mailsync-sources-test-configured ()
  "The groups that an account names are checked after the fetch."
  (mailsync-sources-test--with 'nnml
    (let ((list (mailsync-sources-test--group "list"))
          (order nil))
      (setq mailsync-gnus-test--accounts
            `(("home" :gnus-groups (("incoming" ,list)))))
      (mailsync-sources-test--deliver "incoming" "to me")
      (cl-letf* ((check (symbol-function 'mailsync-gnus--check-group))
                 ((symbol-function 'mailsync-gnus--check-group)
                  (lambda (group kinds)
                    (push (cons group (mailsync-sources-test--left "incoming"))
                          order)
                    (funcall check group kinds))))
        (should (eq 'checked (car (mailsync-sources-test--check "incoming" 'new)))))
      (should (equal (sort order (lambda (a b) (string< (car a) (car b))))
                     `((,list . 0)
                       (,(mailsync-sources-test--group "misc") . 0))))
      (should (equal (mailsync-sources-test--counts) '(0 1))))))

(ert-deftest mailsync-sources-test-same-folder-twice ()
  "Two accounts with the same source: it is fetched once, both are told."
  (mailsync-sources-test--with 'nnml
    (let ((change (mailsync-sources-test--change "incoming" 'new))
          boxes)
      (mailsync-sources-test--deliver "incoming" "to the list")
      (setq boxes (list (mailsync-gnus-test--send change)
                        (mailsync-gnus-test--send
                         (plist-put (copy-sequence change)
                                    :account "second"))))
      (mailsync-gnus-test--wait (cl-every #'car boxes))
      (should (equal (mapcar #'cadr boxes)
                     '((("incoming" . checked)) (("incoming" . checked)))))
      (should (equal (mailsync-sources-test--counts) '(1 0)))
      (should (= 1 (mailsync-sources-test--fetches))))))

;;;; Which source

(ert-deftest mailsync-sources-test-names ()
  "Each way in which a user names a maildir is understood."
  (mailsync-sources-test--with 'nnml
    (let ((incoming (mailsync-sources-test--path "incoming"))
          (link (mailsync-sources-test--path "link"))
          (process-environment process-environment)
          (expected 0))
      (make-symbolic-link incoming link)
      (setenv "MAILDIR" incoming)
      (pcase-dolist
          (`(,sources ,found)
           `((((file) (maildir :path ,incoming)) t)
             (((maildir :path ,(file-name-as-directory incoming)
                        :subdirs ("new")))
              t)
             (((maildir :subdirs ("cur" "new") :path ,link)) t)
             (((maildir :path ,incoming :subdirs ("cur"))
               (maildir :path ,link :subdirs ("new")))
              t)
             (((maildir :path (expand-file-name "incoming"
                                                mailsync-gnus-test--dir)))
              t)
             ((maildir junk (maildir) . nil) t) ; $MAILDIR
             (((maildir :path (error "Wrong")) (maildir :path ,incoming)) t)
             (((maildir :path (error "Wrong"))) nil)
             (((maildir :path "incoming")) nil)
             (((maildir :path "/ssh:nowhere.invalid:/incoming")) nil)
             (((maildir :path 1)) nil)
             (((file :path ,incoming)) nil)
             (((directory :path ,incoming)) nil)
             (((maildir :path ,incoming) . improper) nil)
             (symbol nil)
             (nil nil)))
        (ert-info ((format "%S" sources))
          (let ((mailsync-gnus-test--log nil))
            (setq mail-sources sources)
            (mailsync-sources-test--deliver "incoming" "to the list")
            (should (eq (car (mailsync-sources-test--check "incoming" 'new))
                        (if found 'checked 'no-group)))
            (should (= (mailsync-sources-test--left "incoming")
                       (if found 0 1)))
            (unless found
              (setq mail-sources `((maildir :path ,incoming)))
              (mailsync-sources-test--check "incoming" 'new))
            (should (equal (mailsync-sources-test--counts)
                           (list (cl-incf expected) 0)))))))))

(ert-deftest mailsync-sources-test-appears ()
  "A source that comes into being later is found through its link, too."
  (mailsync-sources-test--with 'nnml
    (let ((link (mailsync-sources-test--path "link")))
      (make-symbolic-link (mailsync-sources-test--path "later") link)
      (setq mail-sources `((maildir :path ,link)))
      ;; The index is made while it is not there.
      (mailsync-sources-test--check "other" 'new)
      (mailsync-sources-test--maildir (mailsync-sources-test--path "later"))
      (setq mailsync-gnus-test--accounts
            `(("home" :gnus-groups
               (("later" ,(mailsync-sources-test--group "misc"))))))
      (mailsync-sources-test--deliver "later" "to the list")
      (should (eq 'checked
                  (car (mailsync-sources-test--check "later" 'folder-created))))
      (should (equal (mailsync-sources-test--counts) '(1 0))))))

;;;; Which server

(ert-deftest mailsync-sources-test-server ()
  "The first server that takes in mail is found as Gnus finds it."
  (mailsync-sources-test--with 'nnml
    (let* ((method (car gnus-secondary-select-methods))
           (without (append method '((nnml-get-new-mail nil))))
           (folder '(nnfolder "archive" (nnfolder-get-new-mail nil)))
           (gnus-select-method '(nnnil "")))
      (pcase-dolist
          (`(,methods ,expected)
           `((() nil)
             ((,method) ,method)
             ((,without) nil)
             ((,folder (nnimap "x") (nntp "news") (nnmaildir "a" (directory "/a")) ,method)
              ,method)
             ((,folder (nnfolder "")) (nnfolder ""))
             (((nnmaildir "a" (get-new-mail nil)) (nnmaildir "b" (get-new-mail t)) ,method)
              (nnmaildir "b" (get-new-mail t)))))
        (let ((gnus-secondary-select-methods methods))
          (should (equal (mailsync-gnus--fetching-method) expected))))
      ;; Gnus leaves the variables as the server that was used last has them.
      (let ((nnml-get-new-mail nil))
        (should (equal (mailsync-gnus--fetching-method) method)))
      (let ((gnus-select-method method)
            (gnus-secondary-select-methods nil))
        (should (equal (mailsync-gnus--fetching-method) method))))))

(ert-deftest mailsync-sources-test-left-alone ()
  "No server is opened for a source, and nothing is fetched unplugged."
  (mailsync-sources-test--with 'nnml
    (let ((method (car gnus-secondary-select-methods))
          (incoming (mailsync-sources-test--path "incoming")))
      (mailsync-sources-test--deliver "incoming" "to the list")
      (cl-flet ((refused (reason)
                  (should (equal (mailsync-sources-test--check "incoming" 'new)
                                 '(no-group nil)))
                  (should (equal (cdr (assoc incoming
                                             (plist-get (mailsync-gnus-status)
                                                        :left-alone)))
                                 reason))
                  (should (= 1 (mailsync-sources-test--left "incoming")))))
        (let ((gnus-plugged nil))
          (refused "unplugged"))
        (let ((mailsync-gnus-split nil))
          (refused (format-message
                    "a mail source, but `mailsync-gnus-split' is nil")))
        (let ((gnus-secondary-select-methods nil))
          (refused "a mail source, but no server takes its mail in"))
        (gnus-close-server method)
        (refused (format "server nnml:%s closed" mailsync-gnus-test--name))
        (should (eq 'closed (gnus-server-status method)))
        (should (= 0 (mailsync-sources-test--fetches))))
      (gnus-open-server method)
      (should (eq 'checked (car (mailsync-sources-test--check "incoming" 'new))))
      (should-not (assoc incoming (plist-get (mailsync-gnus-status) :left-alone)))
      (should (equal (mailsync-sources-test--counts) '(1 0))))))

(ert-deftest mailsync-sources-test-unknown-group ()
  "A group to which mail went and which Gnus does not know is left alone."
  (mailsync-sources-test--with 'nnml
    (let ((nnmail-split-methods '(("fresh" "^Subject:.*fresh") ("misc" "")))
          (fresh (mailsync-sources-test--group "fresh")))
      (mailsync-sources-test--deliver "incoming" "fresh")
      (should (equal (mailsync-sources-test--check "incoming" 'new)
                     '(checked nil)))
      (should (equal (assoc fresh (plist-get (mailsync-gnus-status) :left-alone))
                     (cons fresh "unknown to Gnus"))))))

;;;; What goes wrong

(mailsync-sources-test--for-each mailsync-sources-test-split-signals
    "A split function that signals loses nothing, and is named once."
    (nnml nnfolder nnmaildir)
  (defalias 'mailsync-sources-test--splitter
    (lambda () (if (save-excursion (goto-char (point-min))
                                   (re-search-forward "^Subject:.*bad" nil t))
                   (error "No rule of mine")
                 '("list"))))
  (let ((nnmail-split-methods 'mailsync-sources-test--splitter)
        (bogus (mailsync-sources-test--group "bogus")))
    (gnus-request-create-group "bogus" (car gnus-secondary-select-methods))
    (gnus-subscribe-group bogus nil (car gnus-secondary-select-methods))
    (gnus-group-get-new-news)
    (dotimes (_ 3)
      (mailsync-sources-test--deliver "incoming" "bad"))
    (mailsync-sources-test--deliver "incoming" "good")
    ;; Gnus itself waits for a second, or a key, at each of them.
    (cl-letf* ((waited nil)
               ((symbol-function 'sit-for) (lambda (&rest _) (setq waited t))))
      (pcase-let ((`(,result ,groups)
                   (mailsync-sources-test--check "incoming" 'new)))
        (should (eq result 'checked))
        (should (member (list bogus 0 3) groups)))
      (should-not waited))
    (should (equal (mailsync-sources-test--counts) '(1 0)))
    (should (= 0 (mailsync-sources-test--left "incoming")))
    (mailsync-sources-test--deliver "incoming" "bad")
    (mailsync-sources-test--check "incoming" 'new)
    (should (= 4 (fixture-unread bogus)))
    (should (= 1 (mailsync-sources-test--said "No rule of mine")))
    (should (= 1 (mailsync-sources-test--said "`nnmail-split-methods'")))))

;; Security: S27.
(ert-deftest mailsync-sources-test-rule-signals ()
  "A rule in the list that signals is named once, and the others hold."
  (mailsync-sources-test--with 'nnml
    (let ((nnmail-split-methods
           `(("list" "^Subject:.*list")
             ("never" ,(lambda (_group) (error "Wrong rule")))
             ("misc" ""))))
      (mailsync-sources-test--deliver "incoming" "to the list")
      (mailsync-sources-test--deliver "incoming" "to me")
      (mailsync-sources-test--deliver "incoming" "to me")
      (should (eq 'checked (car (mailsync-sources-test--check "incoming" 'new))))
      (should (equal (mailsync-sources-test--counts) '(1 2)))
      (should (= 1 (mailsync-sources-test--said "Wrong rule")))
      (should (= 1 (length mailsync-gnus-test--log))))))

(mailsync-sources-test--for-each mailsync-sources-test-fetch-signals
    "A fetch that signals loses nothing, is said once, and is not repeated."
    (nnml nnfolder nnmaildir)
  (let ((nnmail-split-hook (lambda () (error "My hook"))))
    (mailsync-sources-test--deliver "incoming" "to the list")
    (mailsync-sources-test--deliver "incoming" "to the list")
    (dotimes (_ 2)
      (should (equal (mailsync-sources-test--check "incoming" 'new)
                     '(failed nil)))
      ;; One is in Gnus's crash box.
      (should (= 1 (mailsync-sources-test--left "incoming")))
      (should (file-exists-p mail-source-crash-box)))
    (should (= 1 (mailsync-sources-test--said "My hook")))
    (should (= 1 (mailsync-sources-test--said "mail source")))
    (should (equal (plist-get (mailsync-gnus-status) :last-error)
                   ;; It got no further than Gnus's crash box.
                   (cons (mailsync-sources-test--path "incoming")
                         "Gnus did not look into it (the last error seen: My hook)")))
    (should (= 0 (plist-get (mailsync-gnus-status) :pending)))
    (should-not mailsync-gnus--fetches)
    (should (= 2 (mailsync-sources-test--fetches))))
  (should (eq 'checked (car (mailsync-sources-test--check "incoming" 'gone))))
  (should (= 2 (mailsync-sources-test--fetches)))
  (should (eq 'checked (car (mailsync-sources-test--check "incoming" 'new))))
  (should (equal (mailsync-sources-test--counts) '(2 0))))

(ert-deftest mailsync-sources-test-scan-signals ()
  "An error that Gnus does not catch stops nothing else."
  (mailsync-sources-test--with 'nnml
    (mailsync-sources-test--deliver "incoming" "to the list")
    (mailsync-sources-test--deliver "other" "to the list")
    (let ((nnmail-pre-get-new-mail-hook
           (lambda ()
             (setq nnmail-pre-get-new-mail-hook nil)
             (error "Before"))))
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-sources-test--change "incoming" 'new)
                           (mailsync-sources-test--change "other" 'new)))
                     '(("incoming" . failed) ("other" . checked)))))
    (should (= 1 (mailsync-sources-test--said "Before")))
    (should (= 1 (mailsync-sources-test--left "incoming")))
    (should (equal (mailsync-sources-test--counts) '(1 0)))))

(ert-deftest mailsync-sources-test-partly ()
  "What was split before an error is counted."
  (mailsync-sources-test--with 'nnml
    (dotimes (_ 3)
      (mailsync-sources-test--deliver "incoming" "to the list"))
    (let* ((messages 0)
           (nnmail-split-hook (lambda ()
                                (when (> (cl-incf messages) 2)
                                  (error "Enough")))))
      (should (equal (mailsync-sources-test--check "incoming" 'new)
                     `(failed ((,(mailsync-sources-test--group "list") 0 2)))))
      (should (equal (mailsync-sources-test--counts) '(2 0))))
    ;; The user has mended it.
    (should (equal (mailsync-sources-test--check "incoming" 'unknown)
                   `(checked ((,(mailsync-sources-test--group "list") 2 3)))))))

(ert-deftest mailsync-sources-test-no-incoming-directory ()
  "Where Gnus cannot keep its copies nothing is fetched, since it would be twice."
  (mailsync-sources-test--with 'nnml
    (let ((mail-source-directory (mailsync-sources-test--path "nowhere"))
          (mail-source-delete-incoming nil))
      (mailsync-sources-test--deliver "incoming" "to the list")
      (should (eq 'failed (car (mailsync-sources-test--check "incoming" 'new))))
      (should (= 1 (mailsync-sources-test--said "`mail-source-directory'")))
      (should (= 1 (mailsync-sources-test--left "incoming")))
      (setq mail-source-delete-incoming t)
      (should (eq 'checked (car (mailsync-sources-test--check "incoming" 'new))))
      (should (equal (mailsync-sources-test--counts) '(1 0))))))

(ert-deftest mailsync-sources-test-quit ()
  "The user may quit a fetch; it is made up for, and each message counts once."
  (mailsync-sources-test--with 'nnml
    (let* ((mailsync--quit-pause 0.1)
           (quits 0)
           (nnmail-split-hook (lambda ()
                                (when (= (cl-incf quits) 2)
                                  (signal 'quit nil)))))
      (dotimes (_ 3)
        (mailsync-sources-test--deliver "incoming" "to the list"))
      (should (eq 'checked (car (mailsync-sources-test--check "incoming" 'new))))
      (should (> quits 3))
      (should (equal (mailsync-sources-test--counts) '(3 0)))
      (should (= 0 (mailsync-sources-test--left "incoming"))))))

(ert-deftest mailsync-sources-test-gnus-quits ()
  "What changed while Gnus is off is fetched when it starts, and no later."
  (mailsync-sources-test--with 'nnml
    (let ((groups (mapcar #'mailsync-sources-test--group '("list" "misc"))))
      (with-current-buffer gnus-group-buffer (gnus-group-exit))
      (mailsync-sources-test--deliver "incoming" "to the list")
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-sources-test--change "incoming" 'new)))
                     '(("incoming" . not-running))))
      (should (= 1 (mailsync-sources-test--left "incoming")))
      (apply #'fixture-start groups)
      (mailsync-gnus-test--wait
       (= 0 (plist-get (mailsync-gnus-status) :pending)))
      (should (equal (mailsync-sources-test--counts) '(1 0)))
      (should (= 0 (mailsync-sources-test--left "incoming"))))))

(provide 'mailsync-sources-test)
;;; mailsync-sources-test.el ends here
